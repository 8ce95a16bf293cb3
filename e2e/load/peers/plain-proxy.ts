/** Peer: http-proxy-middleware on Express as its README shows it, with a keep-alive agent, without identity or limits. */
import express from 'express';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { Agent } from 'node:http';
import type { AddressInfo } from 'node:net';

const app = express();
app.use(
  createProxyMiddleware({ target: process.env['UPSTREAM_URL'] ?? '', changeOrigin: true, agent: new Agent({ keepAlive: true }) }),
);
const server = app.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }));
process.on('disconnect', () => process.exit(0));
