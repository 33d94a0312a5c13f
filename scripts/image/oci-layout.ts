import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { ImageConfig } from './image-config.ts';

/** An image to write. */
export interface OciImage {
  /** Tar archives, the lowest first. */
  readonly layers: readonly Uint8Array[];
  readonly config: ImageConfig;
  readonly architecture: string;
  /** The names that container runtimes list it by. */
  readonly references: readonly string[];
  /** Cache directory of compressed layers for later builds. */
  readonly cache: string;
}

/** Result of {@link writeOciLayout}. */
export interface WrittenImage {
  /** Digest of the manifest, for pulls by digest. */
  readonly digest: string;
  /** Size of all compressed layers. */
  readonly compressedBytes: number;
}

/** Level 9 takes twice the time for a third of a percent. */
const COMPRESSION = 7;

/** Writes an OCI image layout, version 1.0.0. The same image gives the same bytes. */
export function writeOciLayout(directory: string, image: OciImage): WrittenImage {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(join(directory, 'blobs/sha256'), { recursive: true });
  const blob = (mediaType: string, bytes: Uint8Array) => {
    const hash = sha256(bytes);
    writeFileSync(join(directory, 'blobs/sha256', hash), bytes);
    return { mediaType, digest: `sha256:${hash}`, size: bytes.length };
  };
  const json = (mediaType: string, value: unknown) => blob(mediaType, Buffer.from(JSON.stringify(value)));

  const layers = compressed(image.layers, image.cache).map((bytes) =>
    blob('application/vnd.oci.image.layer.v1.tar+gzip', bytes),
  );
  const config = json('application/vnd.oci.image.config.v1+json', {
    created: '1970-01-01T00:00:00Z',
    architecture: image.architecture,
    os: 'linux',
    config: image.config,
    rootfs: { type: 'layers', diff_ids: image.layers.map((tar) => `sha256:${sha256(tar)}`) },
    history: image.layers.map(() => ({ created: '1970-01-01T00:00:00Z', created_by: 'kmesh build-image' })),
  });
  const manifest = json('application/vnd.oci.image.manifest.v1+json', {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config,
    layers,
  });
  const index = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: image.references.map((reference) => ({
      ...manifest,
      platform: { architecture: image.architecture, os: 'linux' },
      annotations: {
        'io.containerd.image.name': reference,
        'org.opencontainers.image.ref.name': reference.split(':').at(-1),
      },
    })),
  };
  writeFileSync(join(directory, 'index.json'), JSON.stringify(index));
  writeFileSync(join(directory, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  return { digest: manifest.digest, compressedBytes: layers.reduce((sum, { size }) => sum + size, 0) };
}

/** Compresses layers that are not in the cache: compression takes most of the time of a build. */
function compressed(layers: readonly Uint8Array[], cache: string): Uint8Array[] {
  mkdirSync(cache, { recursive: true });
  const names = layers.map((tar) => `${sha256(tar)}.tar.gz`);
  for (const name of readdirSync(cache)) if (!names.includes(name)) rmSync(join(cache, name));
  return layers.map((tar, index) => {
    const path = join(cache, names[index] as string);
    if (existsSync(path)) return readFileSync(path);
    const bytes = gzipSync(tar, { level: COMPRESSION });
    writeFileSync(`${path}.new`, bytes);
    renameSync(`${path}.new`, path);
    return bytes;
  });
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
