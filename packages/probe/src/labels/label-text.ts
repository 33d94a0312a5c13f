/**
 * `{name="value",…}` as the exposition formats write it; an empty text when there are no labels. Values beyond the names are a
 * programming error; fewer values leave the last names out.
 */
export function labelText(names: readonly string[], values: readonly string[]): string {
  if (values.length === 0) return '';
  let text = '{';
  for (let index = 0; index < values.length; index++) {
    if (index > 0) text += ',';
    text += `${names[index]}="${escapeLabelValue(values[index] ?? '')}"`;
  }
  return `${text}}`;
}

/** Backslash, double quote and line feed are written with a backslash. */
function escapeLabelValue(value: string): string {
  return /[\\"\n]/.test(value)
    ? value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
    : value;
}
