import { inject, test } from 'vitest';

import { becomeAnotherClient } from './harness/client.ts';
import type { MeshDescription } from './harness/description.ts';
import type { Mesh } from './harness/mesh.ts';
import { openMesh } from './harness/open-mesh.ts';
import type { RequirementId } from './requirements.ts';

declare module 'vitest' {
  interface ProvidedContext {
    mesh: MeshDescription;
  }
}

export interface VerifiesOptions {
  /** Scenarios of `npm start` itself, which a stack of containers has no part in. */
  readonly only?: 'local';
}

/** A test that stands for a requirement; an id that is not in the list does not compile. */
export function verifies(
  id: RequirementId,
  guarantee: string,
  scenario: (mesh: Mesh) => Promise<void>,
  options: VerifiesOptions = {},
): void {
  const description = inject('mesh');
  test.skipIf(options.only === 'local' && description.kind !== 'local')(`[${id}] ${guarantee}`, () => {
    becomeAnotherClient();
    return scenario(openMesh(description));
  });
}
