import { KmeshError } from '@kmesh/api';

/** The bytes of a section of a little-endian 64-bit ELF file; undefined when there is none. @throws KmeshError `KMESH_BTF_INVALID` */
export function elfSection(bytes: Uint8Array, wanted: string): Uint8Array | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (
    bytes.byteLength < 64 ||
    view.getUint32(0, false) !== 0x7f45_4c46 ||
    view.getUint16(4, false) !== 0x0201
  ) {
    throw new KmeshError('KMESH_BTF_INVALID', 'the bytes are not a little-endian 64-bit ELF file');
  }
  const table = Number(view.getBigUint64(40, true));
  const [entrySize, count, namesIndex] = [
    view.getUint16(58, true),
    view.getUint16(60, true),
    view.getUint16(62, true),
  ];
  if (table + entrySize * count > bytes.byteLength || namesIndex >= count) {
    throw new KmeshError('KMESH_BTF_INVALID', 'the ELF file is cut short');
  }
  const place = (index: number) => {
    const at = table + index * entrySize;
    const start = Number(view.getBigUint64(at + 24, true));
    return { name: view.getUint32(at, true), start, end: start + Number(view.getBigUint64(at + 32, true)) };
  };
  const names = place(namesIndex).start;
  for (let index = 1; index < count; index += 1) {
    const section = place(index);
    const start = names + section.name;
    const name = Buffer.from(bytes.subarray(start, bytes.indexOf(0, start))).toString('latin1');
    if (name === wanted) return bytes.subarray(section.start, section.end);
  }
  return undefined;
}
