// What does not fit on the page: boxes that stick out of it, and controls that are lower than `touch` pixels.
(touch) => {
  const name = (one) => `${one.tagName.toLowerCase()}#${one.id || one.className || one.textContent.trim()}`;
  const box = (one) => one.getBoundingClientRect();
  const hidden = ".unseen, .skip, .surface, option";
  const shown = [...document.body.querySelectorAll("*")].filter((one) => one.checkVisibility() && !one.closest(hidden));
  const out = shown.filter((one) => box(one).right > innerWidth + 0.5 || box(one).left < -0.5);
  const controls = shown.filter((one) => one.matches("button, select, input, summary"));
  const small = controls.filter((one) => box(one.closest("label") ?? one).height < touch);
  return [...out.map((one) => `sticks out: ${name(one)}`), ...small.map((one) => `too small: ${name(one)}`)];
};
