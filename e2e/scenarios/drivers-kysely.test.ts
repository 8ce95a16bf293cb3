import { answersAsOverTcp, readsTypesAsOverTcp } from '../drivers/compare.ts';
import { kyselyHttp, kyselyWebSocket } from '../drivers/kysely.ts';
import { verifies } from '../verifies.ts';

for (const pair of [kyselyHttp, kyselyWebSocket]) {
  verifies('drivers:script', `${pair.name} answers and fails as over TCP`, (mesh) => answersAsOverTcp(mesh, pair));
  verifies('drivers:types', `${pair.name} reads every type as over TCP`, (mesh) => readsTypesAsOverTcp(mesh, pair));
}
