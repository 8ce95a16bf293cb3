/** Peer: the SQL server that anybody would write first, `node:http` and a `pg` pool, without identity or limits. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import pg from 'pg';

const pool = new pg.Pool({ connectionString: process.env['DATABASE_URL'], max: Number(process.env['POOL_MAX'] ?? '32') });

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const { query, params } = JSON.parse(Buffer.concat(chunks).toString('utf8')) as { query: string; params: string[] };
    pool.query({ text: query, values: params, rowMode: 'array' }).then(
      (result) => {
        response.setHeader('content-type', 'application/json');
        response.end(
          JSON.stringify({ rows: result.rows, fields: result.fields.map(({ name, dataTypeID }) => ({ name, dataTypeID })) }),
        );
      },
      (error: Error) => {
        response.statusCode = 500;
        response.end(JSON.stringify({ message: error.message }));
      },
    );
  });
});

server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }));
process.on('disconnect', () => process.exit(0));
