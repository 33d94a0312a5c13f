/** The bytes of a section of a little-endian 64-bit ELF file; undefined when there is none. @throws KmeshError `KMESH_BTF_INVALID` */
export declare function elfSection(bytes: Uint8Array, wanted: string): Uint8Array | undefined;
