/** The NATS services protocol (nats-architecture-and-design ADR-32): PING, INFO and STATS. */
import type { Service } from '@postern/contracts/define';
import { procedureSubject } from '@postern/contracts/define';
import type { NatsConnection, Subscription } from '@nats-io/transport-node';

import { INBOX_PREFIX } from './wire.ts';

export interface EndpointStatistics {
  requests: number;
  errors: number;
  lastError: string;
  processingNs: number;
}

export type Statistics = Map<string, EndpointStatistics>;

interface DiscoveryOptions {
  readonly replicaId: string;
  readonly statistics: Statistics;
}

/** Answers `$SRV.{PING,INFO,STATS}[.<name>[.<id>]]` for one replica, so that `nats micro` tooling can see it. */
export function serveDiscovery(
  bus: NatsConnection,
  service: Service,
  { replicaId, statistics }: DiscoveryOptions,
): Subscription[] {
  const started = new Date().toISOString();
  const identity = { name: service.name, id: replicaId, version: `${service.version}.0.0`, metadata: {} };
  const endpoints = Object.keys(service.procedures).map((name) => ({
    name,
    subject: procedureSubject(service, name),
    queue_group: service.name,
  }));
  const answers: Readonly<Record<string, () => unknown>> = {
    PING: () => ({ type: 'io.nats.micro.v1.ping_response', ...identity }),
    INFO: () => ({ type: 'io.nats.micro.v1.info_response', ...identity, description: service.summary, endpoints }),
    STATS: () => ({
      type: 'io.nats.micro.v1.stats_response',
      ...identity,
      started,
      endpoints: endpoints.map((endpoint) => {
        const seen = statistics.get(endpoint.name);
        const requests = seen?.requests ?? 0;
        return {
          ...endpoint,
          num_requests: requests,
          num_errors: seen?.errors ?? 0,
          last_error: seen?.lastError ?? '',
          processing_time: seen?.processingNs ?? 0,
          average_processing_time: requests === 0 ? 0 : Math.round((seen?.processingNs ?? 0) / requests),
        };
      }),
    }),
  };
  return Object.entries(answers).flatMap(([verb, answer]) =>
    [`$SRV.${verb}`, `$SRV.${verb}.${service.name}`, `$SRV.${verb}.${service.name}.${replicaId}`].map((subject) =>
      bus.subscribe(subject, {
        callback: (error, message) => {
          if (error === null && message.reply?.startsWith(INBOX_PREFIX) === true) message.respond(JSON.stringify(answer()));
        },
      }),
    ),
  );
}
