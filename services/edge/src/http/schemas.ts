/** The bodies that the edge itself reads. */
import { Session } from '@postern/contracts/session';
import { z } from 'zod';

/** Unknown keys are ignored, as the reference does. */
export const LoginBody = z.object({ username: z.string().min(1).max(256), password: z.string().max(1_024) });

/** A person's own browser sessions. */
export const SessionList = z.object({
  sessions: z.array(Session.extend({ current: z.boolean().describe('Whether it is the one that asks') })),
});

/** The first message on a SQL socket: who it is, unless a cookie or a trusted header has said so. */
const SocketOptions = z.record(z.string(), z.string()).optional().describe('Settings of the session');
export const AuthMessage = z.union([
  z.object({ user: z.string(), password: z.string(), options: SocketOptions }),
  z.object({ token: z.string(), options: SocketOptions }),
  z.object({ options: SocketOptions }).describe('With a live cookie of the same origin only'),
]);
