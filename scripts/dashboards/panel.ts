/** One query of a panel. `legend` names a series, with Grafana's `{{label}}`. */
export interface Query {
  readonly expression: string;
  readonly legend: string;
}

export interface Panel {
  readonly title: string;
  /** Meaning of the panel and the recommended action. */
  readonly description: string;
  /** Grafana's unit id: `Bps`, `s`, `percentunit`, `short`… */
  readonly unit: string;
  readonly kind: 'timeseries' | 'stat';
  readonly queries: readonly Query[];
}

export interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

/** A choice at the top of the dashboard: the values of one label. */
export interface Variable {
  readonly name: string;
  readonly label: string;
  /** The metric whose label gives the values, with a selector. */
  readonly metric: string;
  readonly values: string;
  /** One value at a time, this one first; else any number of values, and all at first. */
  readonly only?: string;
}

export interface Dashboard {
  /** Must never change: links and bookmarks use it. */
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  readonly variables: readonly Variable[];
  readonly rows: readonly Row[];
}

/** A panel of lines over time. */
export function lines(title: string, unit: string, description: string, ...queries: readonly Query[]): Panel {
  return { title, description, unit, kind: 'timeseries', queries };
}

/** A panel of one number per series. */
export function number(
  title: string,
  unit: string,
  description: string,
  ...queries: readonly Query[]
): Panel {
  return { title, description, unit, kind: 'stat', queries };
}

export function query(expression: string, legend: string): Query {
  return { expression, legend };
}

/** `sum by (labels) (rate(metric{selector}))` over the interval that fits the zoom. */
export function rateBy(labels: string, metric: string, selector: string): string {
  return `sum by (${labels}) (rate(${metric}{${selector}}[$__rate_interval]))`;
}

/** Opened minus closed: currently open connections. */
export function openBy(labels: string, prefix: string, selector: string): string {
  return (
    `sum by (${labels}) (${prefix}_connections_opened_total{${selector}}) - ` +
    `sum by (${labels}) (${prefix}_connections_closed_total{${selector}})`
  );
}
