/** `GET /api/sql/listen?channel=a&channel=b`: what is notified on these channels, as server-sent events. */
import { Failure } from '@postern/contracts/failure';

import type { ChannelFeeds } from '../../domain/channels.ts';
import { channelsFault } from '../../domain/channels.ts';
import type { SqlError } from '../../domain/entries.ts';
import { EventStream, isHeadAnswered } from '../event-stream.ts';
import type { Route } from '../server.ts';

/** What a reader may leave untaken. */
const WAITING_BYTES_MAX = 8_388_608;

const tooSlow: SqlError = { message: 'the feed was ended because its reader takes too little of it', code: '53400' };

export const listenRoute = (feeds: ChannelFeeds): Route => ({
  method: 'GET',
  path: '/api/sql/listen',
  serve: async ({ caller, request, response }) => {
    const channels = new URL(request.url ?? '', 'http://sql').searchParams.getAll('channel');
    const fault = channelsFault(channels);
    if (fault !== undefined) throw new Failure('SQL_BODY_SHAPE', { detail: fault });
    if (isHeadAnswered(request, response)) return;
    const events = new EventStream(response);
    const send = (event: string, data: unknown): void => events.send(event, Buffer.from(JSON.stringify(data)));
    const refuse = (error: SqlError): void => {
      const body = JSON.stringify(error);
      const status = error.code.startsWith('28') ? 403 : error.code.startsWith('08') ? 503 : 500;
      response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }).end(body);
    };
    const feed = feeds.open(
      { caller, channels },
      {
        listening: (names) => send('listening', { channels: names }),
        notification: (notification) => {
          send('notification', notification);
          if (events.waitingBytes > WAITING_BYTES_MAX) feed.cancel(tooSlow);
        },
        error: (error) => {
          if (!events.isOpen) return refuse(error);
          send('error', error);
          events.end();
        },
      },
    );
    const leave = (): void => feed.leave();
    response.once('close', leave);
    if (response.closed) leave();
    await feed.ended;
    response.off('close', leave);
  },
});
