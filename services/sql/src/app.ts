/** Ports in, handlers out. */
import type { RequestListener } from 'node:http';

import type { ServerOptions } from './http/server.ts';
import { createListener } from './http/server.ts';

export const createApp = (options: ServerOptions): RequestListener => createListener(options);
