/**
 * Traces and metrics over OTLP, for `node --import @postern/service-kit/telemetry`. Off, and nothing is loaded, unless
 * `OTEL_EXPORTER_OTLP_ENDPOINT` (or the signal's own variable) is set and `OTEL_SDK_DISABLED` is not `true`.
 */
import { beforeExit } from './before-exit.ts';

const configured =
  process.env['OTEL_SDK_DISABLED'] !== 'true' &&
  ['', 'TRACES_', 'METRICS_'].some((signal) => process.env[`OTEL_EXPORTER_OTLP_${signal}ENDPOINT`] !== undefined);

if (configured) {
  const [{ NodeSDK }, { HttpInstrumentation }, { ExpressInstrumentation }, { PgInstrumentation }, module] = await Promise.all([
    import('@opentelemetry/sdk-node'),
    import('@opentelemetry/instrumentation-http'),
    import('@opentelemetry/instrumentation-express'),
    import('@opentelemetry/instrumentation-pg'),
    import('node:module'),
  ]);
  // oxlint-disable-next-line typescript/no-deprecated -- OpenTelemetry's hook is made for it, and has none for its successor
  module.register('@opentelemetry/instrumentation/hook.mjs', import.meta.url);
  const sdk = new NodeSDK({
    // Statements and parameters are the person's own; they never become attributes.
    instrumentations: [
      new HttpInstrumentation(),
      new ExpressInstrumentation(),
      new PgInstrumentation({ enhancedDatabaseReporting: false }),
    ],
  });
  sdk.start();
  beforeExit.push(() => sdk.shutdown());
}
