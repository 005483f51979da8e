// Prints what others make of a GLB: the Khronos validator's issues, and the joints that three.js animates.
import fs from "node:fs";
import validator from "gltf-validator";
import { AnimationMixer, Vector3 } from "three";
import { GLTFLoader } from "three/examples/jsm/loaders/GLTFLoader.js";

globalThis.self ??= globalThis;
const [path, fps, frames] = process.argv.slice(2);
const bytes = fs.readFileSync(path);
const report = await validator.validateBytes(new Uint8Array(bytes));
const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
const model = await new Promise((resolve, reject) => new GLTFLoader().parse(buffer, "", resolve, reject));
const mixer = new AnimationMixer(model.scene);
const action = mixer.clipAction(model.animations[0]);
action.clampWhenFinished = true;
action.setLoop(2200, 1); // once
action.play();
let body;
model.scene.traverse(node => { if (node.isSkinnedMesh) body = node; });
const joints = [], skin = [], place = new Vector3();
for (let frame = 0; frame < Number(frames); frame++) {
  mixer.setTime(frame / Number(fps));
  model.scene.updateMatrixWorld(true);
  joints.push(body.skeleton.bones.map(bone => bone.getWorldPosition(place).toArray()));
}
body.skeleton.update();
for (let i = 0; i < body.geometry.attributes.position.count; i += 50) {
  skin.push(body.localToWorld(body.getVertexPosition(i, place)).toArray());
}
const names = body.skeleton.bones.map(bone => bone.name);
console.log(JSON.stringify({ errors: report.issues.numErrors, warnings: report.issues.numWarnings, names, joints, skin }));
