import { answersAsOverTcp, readsTypesAsOverTcp } from '../drivers/compare.ts';
import { prismaHttp, prismaWebSocket } from '../drivers/prisma.ts';
import { verifies } from '../verifies.ts';

for (const pair of [prismaHttp, prismaWebSocket]) {
  verifies('drivers:script', `${pair.name} answers and fails as over TCP`, (mesh) => answersAsOverTcp(mesh, pair));
  verifies('drivers:types', `${pair.name} reads every type as over TCP`, (mesh) => readsTypesAsOverTcp(mesh, pair));
}
