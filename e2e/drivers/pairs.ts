import type { Pair } from './driver.ts';
import { drizzleHttp, drizzleWebSocket } from './drizzle.ts';
import { kyselyHttp, kyselyWebSocket } from './kysely.ts';
import { neonHttp, neonWebSocket } from './neon.ts';
import { prismaHttp, prismaWebSocket } from './prisma.ts';

export const PAIRS: readonly Pair[] = [
  neonHttp,
  neonWebSocket,
  drizzleHttp,
  drizzleWebSocket,
  kyselyHttp,
  kyselyWebSocket,
  prismaHttp,
  prismaWebSocket,
];
