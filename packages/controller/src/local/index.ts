export { localMeshUpdates } from './difference.ts';
export { type LocalMesh, parseLocalMesh } from './local-mesh.ts';
export { type LocalMeshWatch, watchLocalMesh } from './watch-local-mesh.ts';
