/** The listener document for those who give none: one public door with every kind of credential, one for probes and metrics. */
const everyone = { enabled: true, allowed_roles: 'NormalAndInternal' } as const;

export const shippedListeners = {
  version: '26.32.0',
  http: {
    external: {
      addr: '127.0.0.1:6876',
      authenticator_kind: 'Oidc',
      enable_tls: false,
      routes: {
        base: everyone,
        webhook: everyone,
        internal: everyone,
        profiling: everyone,
        mcp_agent: everyone,
        mcp_developer: everyone,
        console_config: everyone,
        metrics: { enabled: true, allowed_roles: 'Internal' },
      },
    },
    internal: {
      addr: '127.0.0.1:6878',
      authenticator_kind: 'None',
      enable_tls: false,
      routes: { metrics: everyone },
    },
  },
} as const;
