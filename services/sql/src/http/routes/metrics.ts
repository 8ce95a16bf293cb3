/** `/metrics/…`: metrics that are defined by SQL, with the rights of whoever scrapes them. */
import type { MetricsBook } from '../../domain/inspections.ts';
import { METRIC_PAGES } from '../../domain/sql-metrics.ts';
import type { Route } from '../server.ts';
import { inspectorOf, sendBody, sendInspection } from './catalog.ts';

const PROMETHEUS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export const metricsRoutes = (book: MetricsBook): Route[] =>
  METRIC_PAGES.map((page) => ({
    method: 'GET',
    path: `/metrics/${page}`,
    serve: async (visit) => {
      visit.response.setHeader('cache-control', 'no-store');
      const inspection = await book.page(page, inspectorOf(visit));
      await sendInspection(visit, inspection, (text) => sendBody(visit, PROMETHEUS_TYPE, text));
    },
  }));
