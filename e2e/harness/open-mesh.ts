import { createComposeMesh } from './compose-mesh.ts';
import type { MeshDescription } from './description.ts';
import { createLocalMesh } from './local-mesh.ts';
import type { Mesh } from './mesh.ts';

export const openMesh = (description: MeshDescription): Mesh =>
  description.kind === 'local' ? createLocalMesh(description) : createComposeMesh(description);
