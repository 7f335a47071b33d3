export function drawCurves() {
  return () => {};
}
