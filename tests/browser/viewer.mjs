// The viewer's player in a page or a frame: whether it plays, and its pictures at chosen times.

export async function plays(page) {  // starts or goes on by itself; stopped afterwards
  const time = () => document.getElementById("time").textContent;
  const before = await page.evaluate(time);
  if (await page.textContent("#play") === "Play") await page.click("#play");
  await page.waitForFunction(before => document.getElementById("time").textContent !== before, before);
  await page.click("#play");
}

export async function pixelsAt(page, share) {  // share: of the motion's duration
  await page.locator("#scrub").fill(String(share));
  return pixels(page);
}

export const pixels = page => page.evaluate(() => {
  const canvas = document.getElementById("stage");
  return Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data);
});

export const differing = (a, b) => a.filter((value, i) => i % 4 === 0 && Math.abs(value - b[i]) > 40).length;
