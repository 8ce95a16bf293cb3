import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import type { WebSocket } from 'ws';

import { createReceiving } from './receiving.ts';

/** imm-126 */
test('the socket with which messages that are not whole become too many bytes is closed, and no other', () => {
  const receiving = createReceiving(100, 60);
  const closed: string[] = [];
  const open = (name: string): PassThrough => {
    const socket = new PassThrough();
    const ws = Object.assign(new PassThrough(), { close: () => void closed.push(name) });
    receiving(socket, ws as unknown as Pick<WebSocket, 'on' | 'close'>);
    socket.on('whole', () => ws.emit('message'));
    return socket;
  };
  const [one, two, three] = [open('one'), open('two'), open('three')];
  for (let count = 0; count < 20; count += 1) {
    one.emit('data', Buffer.alloc(60));
    one.emit('whole');
  }
  for (let count = 0; count < 3; count += 1) one.emit('data', Buffer.alloc(60));
  two.emit('data', Buffer.alloc(40));
  expect(closed).toEqual([]);
  three.emit('data', Buffer.alloc(1));
  expect(closed).toEqual(['three']);
  three.emit('close');
  one.emit('close');
  two.emit('data', Buffer.alloc(60));
  expect(closed).toEqual(['three']);
});
