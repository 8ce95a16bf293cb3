import type { Registry } from 'prom-client';
import { Histogram } from 'prom-client';

const buckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/** The histogram of one side of the calls, made once per registry. */
export function callHistogram(registry: Registry, side: 'client' | 'server'): Histogram<'procedure' | 'code'> {
  const name = `postern_rpc_${side}_duration_seconds`;
  const known = registry.getSingleMetric(name);
  if (known instanceof Histogram) return known;
  return new Histogram({
    name,
    help: side === 'server' ? 'Time to answer a call, by procedure and outcome' : 'Time a call took as its caller saw it',
    labelNames: ['procedure', 'code'],
    buckets,
    registers: [registry],
  });
}
