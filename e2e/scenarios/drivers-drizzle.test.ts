import { answersAsOverTcp, readsTypesAsOverTcp } from '../drivers/compare.ts';
import { drizzleHttp, drizzleWebSocket } from '../drivers/drizzle.ts';
import { verifies } from '../verifies.ts';

for (const pair of [drizzleHttp, drizzleWebSocket]) {
  verifies('drivers:script', `${pair.name} answers and fails as over TCP`, (mesh) => answersAsOverTcp(mesh, pair));
  verifies('drivers:types', `${pair.name} reads every type as over TCP`, (mesh) => readsTypesAsOverTcp(mesh, pair));
}
