// The explorer's status line: read out as it changes, so the element itself stays.
//
// It also keeps the explorer's keys from the notebook: in a list, "d d" would delete the cell.

// JupyterLab looks for this on the very element that has the focus, not only on those around it.
const keepKeys = (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true");

function render({ model, el }) {
  const line = document.createElement("div");
  line.className = "ocs-status";
  line.setAttribute("role", "status");
  const say = () => {
    const pieces = model.get("text").split("`").map((text, at) => {
      const piece = document.createElement(at % 2 ? "code" : "span");
      piece.textContent = text;
      return piece;
    });
    line.replaceChildren(...pieces);
  };
  const find = () => {
    if (el.isConnected) el.closest(".ocs-explorer")?.addEventListener("focusin", keepKeys);
    else frame = requestAnimationFrame(find);
  };
  let frame = requestAnimationFrame(find);
  model.on("change:text", say);
  say();
  el.append(line);
  return () => {
    cancelAnimationFrame(frame);
    model.off("change:text", say);
  };
}

export default { render };
