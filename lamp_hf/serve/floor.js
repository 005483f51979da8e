// Draws a path on the floor, on from its last point. Metres; x is to the left in the picture, z upward.
const spacing = 0.3; // between the points of a line

function extend(event) {
    const toFloor = element.querySelector("svg").getScreenCTM().inverse();
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(toFloor);
    const x = Math.max(-4, Math.min(4, -place.x)), z = Math.max(-2, Math.min(6, -place.y));
    const text = props.value || "0, 0";
    const last = text.split(/[;\n]/).at(-1).split(",").map(Number);
    if (Math.hypot(x - last[0], z - last[1]) >= spacing) props.value = `${text}; ${+x.toFixed(1)}, ${+z.toFixed(1)}`;
}

element.addEventListener("pointerdown", event => {
    element.setPointerCapture(event.pointerId);
    extend(event);
});
element.addEventListener("pointermove", event => { if (event.buttons) extend(event); });
element.addEventListener("pointerup", () => trigger("input"));
