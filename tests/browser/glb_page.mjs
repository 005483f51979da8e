// Shows a GLB with three.js in headless Chromium; prints console errors and how much of the picture is body, and moves.
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { chromium } from "playwright-core";

const [file, screenshot] = process.argv.slice(2);
const root = path.join(import.meta.dirname, "node_modules");
const page = `<!DOCTYPE html><link rel="icon" href="data:,"><canvas id="view" width="320" height="320"></canvas>
<script type="importmap">{"imports": {"three": "/three/build/three.module.js", "three/addons/": "/three/examples/jsm/"}}</script>
<script type="module">
  import * as THREE from "three";
  import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
  const renderer = new THREE.WebGLRenderer({ canvas: document.getElementById("view") });
  const scene = new THREE.Scene();
  scene.background = new THREE.Color(0xffffff);
  scene.add(new THREE.HemisphereLight(0xffffff, 0x888888, 3));
  const model = await new GLTFLoader().loadAsync("/model.glb");
  model.scene.traverse(node => { node.frustumCulled = false; });  // three.js culls by where a body was at first
  scene.add(model.scene);
  const mixer = new THREE.AnimationMixer(model.scene);
  mixer.clipAction(model.animations[0]).play();
  const camera = new THREE.PerspectiveCamera(40, 1, 0.1, 50), pelvis = new THREE.Vector3();
  window.show = seconds => {  // fractions of the picture that are not white; and the picture
    mixer.setTime(seconds);
    model.scene.updateMatrixWorld(true);
    model.scene.getObjectByName("pelvis").getWorldPosition(pelvis);
    camera.position.set(pelvis.x + 1.2, 1.4, pelvis.z + 3.4);
    camera.lookAt(pelvis.x, 0.9, pelvis.z);
    renderer.render(scene, camera);
    const copy = document.createElement("canvas");
    copy.width = copy.height = 320;
    const context = copy.getContext("2d");
    context.drawImage(renderer.domElement, 0, 0);
    window.picture = copy.toDataURL();
    return Array.from(context.getImageData(0, 0, 320, 320).data);
  };
  window.ready = model.animations[0].duration;
</script>`;
const types = { ".js": "text/javascript", ".glb": "model/gltf-binary" };
const server = http.createServer((request, response) => {
  const name = request.url === "/model.glb" ? file : path.join(root, path.normalize(request.url));
  response.setHeader("Content-Type", request.url === "/" ? "text/html" : types[path.extname(name)] ?? "text/plain");
  response.end(request.url === "/" ? page : fs.readFileSync(name));
}).listen(0, "127.0.0.1");
const executablePath = process.env.CHROMIUM;
const args = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"];
const browser = await chromium.launch({ executablePath, args });
const tab = await browser.newPage();
const errors = [];
tab.on("console", message => { if (message.type() === "error") errors.push(message.text()); });
tab.on("pageerror", error => errors.push(String(error)));
await tab.goto(`http://127.0.0.1:${server.address().port}/`);
await tab.waitForFunction(() => window.ready !== undefined, undefined, { timeout: 30000 });
const seconds = await tab.evaluate(() => window.ready);
const pictures = [];
for (const share of [0, 0.5]) pictures.push(await tab.evaluate(time => window.show(time), share * seconds));
if (screenshot) {
  const picture = await tab.evaluate(() => window.picture);
  fs.writeFileSync(screenshot, Buffer.from(picture.split(",")[1], "base64"));
}
await browser.close();
server.close();
const count = test => pictures[0].reduce((sum, _, i) => sum + (i % 4 === 0 && test(i) ? 1 : 0), 0);
const orange = pictures.map(picture => count(i => picture[i] > picture[i + 2] + 40));
const moved = count(i => Math.abs(pictures[0][i] - pictures[1][i]) > 40);
console.log(JSON.stringify({ errors, seconds, orange, moved }));
