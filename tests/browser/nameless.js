// Controls that have no name for who does not see them.
() => {
  const controls = [...document.querySelectorAll("button, input, select, [role=slider], [role=meter]")];
  const labels = (one) => [...(one.labels ?? [])].map((label) => label.textContent).join("");
  const names = (one) => `${one.getAttribute("aria-label") ?? ""}${one.textContent}${labels(one)}`;
  return controls.filter((one) => one.checkVisibility() && !names(one).trim()).map((one) => one.outerHTML);
};
