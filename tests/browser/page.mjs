// Opens a page in headless Chromium; prints its console errors and requests, and how many pixels change as it plays.
import { chromium } from "playwright-core";

const [address, screenshot] = process.argv.slice(2);
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const page = await browser.newPage({ viewport: { width: 640, height: 480 }, reducedMotion: "reduce" });
const errors = [], requests = [];
page.on("console", message => { if (message.type() === "error") errors.push(message.text()); });
page.on("pageerror", error => errors.push(String(error)));
page.on("request", request => requests.push(request.url()));
await page.goto(address);
const pixels = () => page.evaluate(() => {
  const canvas = document.getElementById("stage");
  return Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data);
});
const differing = (a, b) => { let count = 0; for (let i = 0; i < a.length; i += 4) if (Math.abs(a[i] - b[i]) > 40) count++; return count; };
const still = await pixels();
const coloured = still.filter((value, i) => i % 4 === 0 && value > still[i + 2] + 60).length;
const time = () => page.textContent("#time");
const before = await time();
await page.click("#play");
await page.waitForFunction(before => document.getElementById("time").textContent !== before, before);
await page.waitForTimeout(600);
await page.click("#play");
const played = await pixels();
await page.mouse.move(300, 200);
await page.mouse.down();
await page.mouse.move(420, 200);
await page.mouse.up();
const turned = await pixels();
if (screenshot) await page.screenshot({ path: screenshot });
await browser.close();
console.log(JSON.stringify({ errors, requests, coloured, moved: differing(still, played), turned: differing(played, turned) }));
