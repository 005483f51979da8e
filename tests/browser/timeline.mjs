// Uses the demo's timeline in headless Chromium as an animator does: sentences, a path drawn with the mouse, a key pose,
// six variants of which one is chosen, downloads, an own character, a path that is too long. Prints what the page says.
import path from "node:path";
import { chromium } from "playwright-core";
import { differing, pixelsAt } from "./viewer.mjs";

const [address, folder, pose, character, screenshot] = process.argv.slice(2);
const executablePath = process.env.CHROMIUM;
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const page = await browser.newPage({ viewport: { width: 1366, height: 900 } });
page.setDefaultTimeout(300000);
const errors = [];
page.on("console", message => { if (message.type() === "error") errors.push(message.text()); });
page.on("pageerror", error => errors.push(String(error)));
const field = label => page.getByLabel(label).filter({ visible: true });
const button = name => page.getByRole("button", { name, exact: true }).filter({ visible: true });
const upload = async (label, file) => {
  const block = page.locator(".block").filter({ hasText: label, visible: true }).last();
  await block.locator("input[type=file]").setInputFiles(file);
  await block.getByText(path.parse(file).name, { exact: true }).waitFor();
};
const saved = async name => {
  const waiting = page.waitForEvent("download");
  await button(name).click();
  const download = await waiting, file = path.join(folder, download.suggestedFilename());
  await download.saveAs(file);
  return file;
};
const shown = async count => {  // the viewer, when it shows so many motions
  const viewer = page.locator("iframe.viewer").filter({ visible: true });
  for (;;) {
    const frame = await (await viewer.elementHandle()).contentFrame();
    if (await frame.evaluate("typeof motions === 'undefined' ? 0 : motions.length") === count) return frame;
    await page.waitForTimeout(100);
  }
};

await page.goto(address);
await page.getByRole("tab", { name: "Timeline" }).click();
await field("Seconds 1").fill("3");
await field("Sentence 2").fill("a person bows");
await field("Seconds 2").fill("2");
const floor = page.locator("svg.floor");
await floor.scrollIntoViewIfNeeded();
const box = await floor.boundingBox();  // 8 x 8 m, the body 2 m above the lower edge
const at = (x, z) => [box.x + box.width * (4 - x) / 8, box.y + box.height * (6 - z) / 8];
await page.mouse.move(...at(0, 1));
await page.mouse.down();
for (let z = 1; z <= 3; z += 0.1) await page.mouse.move(...at((z - 1) / 2, z));
await page.mouse.up();
await page.waitForFunction(() => [...document.querySelectorAll("textarea")].some(area => area.value.startsWith("0, 0; ")));
const drawn = await field("Points").inputValue();
await field("Points").fill("0, 0; 0, 1; 1, 2.5");
await page.waitForFunction(() => document.querySelector("svg.floor polyline").getAttribute("points") === "0,0 0,-1 -1,-2.5");
await page.getByRole("button", { name: "Key poses, optional" }).click();
await upload("Pose 1", pose);
await field("At second").first().fill("1.5");
await button("Generate 6 variants").click();
const six = await shown(6);
const titles = await six.evaluate("motions.map(motion => motion.text)");
const start = await pixelsAt(six, 0);
const moved = differing(start, await pixelsAt(six, 0.5));
if (screenshot) await page.screenshot({ path: screenshot, fullPage: true });
const note = await field("Result").inputValue();
await page.getByRole("radio", { name: "4", exact: true }).click();
const title = await (await shown(1)).evaluate("motions[0].text");
const file = await saved("Download .npz");
await page.getByRole("button", { name: "On your own character" }).filter({ visible: true }).click();
await upload("Character", character);
const hero = await saved("Download on this character");
await button("Clear path").click();
await page.waitForFunction(() => !document.querySelector("svg.floor polyline").getAttribute("points"));
await field("Points").fill("0, 0; 0, 90");
await button("Generate 6 variants").click();
const refusal = await (await page.waitForSelector(".toast-body")).innerText();
await browser.close();
console.log(JSON.stringify({ errors, drawn, titles, moved, note, title, file, hero, refusal }));
