// Numbers as people read them. Nothing here knows ComfyUI.

export const loss = (value) => (value == null ? "–" : value.toPrecision(3));

// 0.00003 as 3e-5, which is how the field writes it.
export function rate(value) {
  if (value == null) return "–";
  if (value === 0 || value >= 0.01) return `${Number(value.toPrecision(3))}`;
  const [digits, exponent] = value.toExponential(2).split("e");
  return `${Number(digits)}e${Number(exponent)}`;
}

export function duration(seconds) {
  const whole = Math.round(seconds);
  const two = (number) => String(number).padStart(2, "0");
  const minutes = Math.floor(whole / 60) % 60;
  const hours = Math.floor(whole / 3600);
  const rest = two(whole % 60);
  return hours ? `${hours}:${two(minutes)}:${rest}` : `${minutes}:${rest}`;
}

export function bytes(count) {
  return count >= 1 << 30
    ? `${(count / (1 << 30)).toFixed(1)} GiB`
    : `${Math.round(count / (1 << 20))} MiB`;
}
