// Draws a path on the floor: x points to the body's left, which is left in the picture, and z upward, in metres.
const spacing = 0.3; // between the points of a drawn line
let drawing = false;

function extend(event) {
    const toPicture = element.querySelector("svg").getScreenCTM().inverse();
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(toPicture);
    const text = props.value || "0, 0";
    const last = text.split(";").at(-1).split(",").map(Number);
    if (Math.hypot(place.x + last[0], place.y + last[1]) < spacing) return;
    props.value = `${text}; ${(-place.x).toFixed(1)}, ${(-place.y).toFixed(1)}`;
}

element.addEventListener("pointerdown", event => {
    element.setPointerCapture(event.pointerId);
    drawing = true;
    extend(event);
});
element.addEventListener("pointermove", event => { if (drawing) extend(event); });
element.addEventListener("pointerup", () => {
    drawing = false;
    trigger("input");
});
