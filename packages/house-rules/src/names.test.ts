import { expect, test } from 'vitest';

import { nameMistakes } from './names.ts';
import { readRepository } from './repository.ts';

const named = (path: string): string[] => nameMistakes([{ path, text: '' }]);

test('every file says what is inside', () => {
  expect(nameMistakes(readRepository())).toEqual([]);
});

test.each([
  'services/sql/src/domain/utils.ts',
  'services/sql/src/domain/common.ts',
  'services/sql/src/domain/pool-manager.ts',
  'services/sql/src/helpers/rows.ts',
  'services/sql/src/http/handlers.ts',
  'packages/rpc/src/index.ts',
  'packages/rpc/src/wireFormat.ts',
])('%s is refused', (path) => {
  expect(named(path)).toHaveLength(1);
});

test.each(['services/sql/src/nats/handlers.ts', 'packages/contracts/src/common.ts', 'deploy/src/start/data-folder.ts'])(
  '%s is fine',
  (path) => {
    expect(named(path)).toEqual([]);
  },
);
