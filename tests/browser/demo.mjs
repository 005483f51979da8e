// Uses the demo in headless Chromium as a visitor does: a sentence, the viewer, a download, an empty sentence. Prints
// console errors, requests to other machines, pixels that change as the viewer plays, and what the page says.
import path from "node:path";
import { chromium } from "playwright-core";

const [address, folder, text, screenshot] = process.argv.slice(2);
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
page.setDefaultTimeout(120000);
const errors = [], elsewhere = [];
page.on("console", message => { if (message.type() === "error") errors.push(message.text()); });
page.on("pageerror", error => errors.push(String(error)));
page.on("request", request => { if (/^(https?|wss?):/.test(request.url()) && !request.url().startsWith(address)) elsewhere.push(request.url()); });
await page.goto(address);
await page.getByLabel("What the person does").first().fill(text);
await page.getByRole("spinbutton", { name: "Seed" }).first().fill("0");
await page.getByRole("button", { name: "Make the motion" }).click();
const frame = await (await page.waitForSelector("iframe.viewer")).contentFrame();
await frame.waitForSelector("#stage");
const title = await frame.evaluate("motions[0].text");
const pixels = () => frame.evaluate(() => {
  const canvas = document.getElementById("stage");
  return Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data);
});
const first = await pixels();
const before = await frame.evaluate("view.time");
await frame.waitForFunction(before => Math.abs(view.time - before) > 0.5, before);
const second = await pixels();
const moved = first.filter((value, i) => i % 4 === 0 && Math.abs(value - second[i]) > 40).length;
if (screenshot) await page.screenshot({ path: screenshot });
const note = await page.getByLabel("Made").inputValue();
const waiting = page.waitForEvent("download");
await page.getByRole("button", { name: "Download .bvh" }).click();
const download = await waiting;
const file = path.join(folder, download.suggestedFilename());
await download.saveAs(file);
await page.getByLabel("What the person does").first().fill(" ");
await page.getByRole("button", { name: "Make the motion" }).click();
const refusal = await (await page.waitForSelector(".toast-body")).innerText();
const fonts = await page.evaluate(() => getComputedStyle(document.querySelector("button.primary")).fontFamily);
await browser.close();
console.log(JSON.stringify({ errors, elsewhere, title, moved, note, file, refusal, fonts }));
