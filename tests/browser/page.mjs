// Opens a page in headless Chromium; prints its console errors and requests, and how many pixels change with time.
import { chromium } from "playwright-core";
import { differing, pixels, pixelsAt, plays } from "./viewer.mjs";

const [address, screenshot] = process.argv.slice(2);
const executablePath = process.env.CHROMIUM;
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const page = await browser.newPage({ viewport: { width: 640, height: 480 }, reducedMotion: "reduce" });
const errors = [], requests = [];
page.on("console", message => { if (message.type() === "error") errors.push(message.text()); });
page.on("pageerror", error => errors.push(String(error)));
page.on("request", request => requests.push(request.url()));
await page.goto(address);
const still = await pixels(page);
const coloured = still.filter((value, i) => i % 4 === 0 && value > still[i + 2] + 60).length;
await plays(page);
const start = await pixelsAt(page, 0), middle = await pixelsAt(page, 0.5);
await page.mouse.move(300, 200);
await page.mouse.down();
await page.mouse.move(420, 200);
await page.mouse.up();
const turned = await pixels(page);
if (screenshot) await page.screenshot({ path: screenshot });
await browser.close();
console.log(JSON.stringify({ errors, requests, coloured, moved: differing(start, middle), turned: differing(middle, turned) }));
