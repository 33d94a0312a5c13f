import type { Dashboard, Panel, Variable } from './panel.ts';

// biome-ignore lint/suspicious/noTemplateCurlyInString: Grafana's own placeholder
const datasource = { type: 'prometheus', uid: '${datasource}' };
const columns = 24;
const panelHeight = 8;
const panelsPerRow = 3;

/** A dashboard as Grafana imports it. Everything in it follows from the source: no dates, no random ids. */
export function toGrafana(dashboard: Dashboard): object {
  let id = 1;
  let y = 0;
  const panels: object[] = [];
  for (const row of dashboard.rows) {
    panels.push({
      id: id++,
      type: 'row',
      title: row.title,
      collapsed: false,
      panels: [],
      gridPos: { h: 1, w: columns, x: 0, y },
    });
    y += 1;
    row.panels.forEach((panel, index) => {
      const width = columns / Math.min(panelsPerRow, row.panels.length);
      const column = index % panelsPerRow;
      const line = Math.floor(index / panelsPerRow);
      const gridPos = { h: panelHeight, w: width, x: column * width, y: y + line * panelHeight };
      panels.push(toGrafanaPanel(panel, id++, gridPos));
    });
    y += Math.ceil(row.panels.length / panelsPerRow) * panelHeight;
  }
  return {
    uid: dashboard.uid,
    title: dashboard.title,
    description: dashboard.description,
    tags: ['kmesh', 'ambient'],
    schemaVersion: 39,
    version: 1,
    editable: true,
    graphTooltip: 1,
    refresh: '15s',
    time: { from: 'now-30m', to: 'now' },
    timezone: '',
    annotations: { list: [] },
    links: [{ type: 'dashboards', title: 'Kmesh', tags: ['kmesh'], asDropdown: true, keepTime: true }],
    templating: { list: [datasourceVariable(), ...dashboard.variables.map(toGrafanaVariable)] },
    panels,
  };
}

function toGrafanaPanel(panel: Panel, id: number, gridPos: object): object {
  const stat = panel.kind === 'stat';
  return {
    id,
    type: panel.kind,
    title: panel.title,
    description: panel.description,
    datasource,
    gridPos,
    fieldConfig: {
      defaults: {
        unit: panel.unit,
        min: 0,
        links: linksOf(panel),
        ...(stat
          ? {}
          : { custom: { drawStyle: 'line', lineWidth: 1, fillOpacity: 10, showPoints: 'never' } }),
      },
      overrides: [],
    },
    options: stat
      ? { reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false }, textMode: 'value_and_name' }
      : {
          legend: { displayMode: 'table', placement: 'bottom', calcs: ['mean', 'max'] },
          tooltip: { mode: 'multi', sort: 'desc' },
        },
    targets: panel.queries.map(({ expression, legend }, index) => ({
      refId: String.fromCharCode(65 + index),
      datasource,
      editorMode: 'code',
      expr: orZero(expression),
      legendFormat: legend,
      range: !stat,
      instant: stat,
    })),
  };
}

/** An empty answer is shown as 0: most counters begin to exist with the first thing that they count. */
function orZero(expression: string): string {
  return expression.startsWith('histogram_quantile') ? expression : `(${expression}) or on() vector(0)`;
}

/** Link target of a label in a panel's legends: dashboard and its variable. */
const targets: Readonly<Record<string, readonly [uid: string, variable: string, title: string]>> = {
  destination_service_name: ['kmesh-service', 'service', 'This service'],
  source_workload: ['kmesh-workload', 'workload', 'The client workload'],
  destination_workload: ['kmesh-workload', 'workload', 'The server workload'],
  instance: ['kmesh-kernel-path', 'instance', 'The kernel path of this node'],
};

/** Links of a panel's series to the dashboard of what they are about. */
function linksOf(panel: Panel): object[] {
  return Object.entries(targets)
    .filter(([label]) => panel.queries.some(({ legend }) => legend.includes(`{{${label}}}`)))
    .map(([label, [uid, variable, title]]) => ({
      title,
      url: `/d/${uid}?var-${variable}=\${__field.labels.${label}}&\${__url_time_range}`,
    }));
}

function datasourceVariable(): object {
  return {
    name: 'datasource',
    label: 'Data source',
    type: 'datasource',
    query: 'prometheus',
    current: {},
    hide: 0,
    includeAll: false,
    multi: false,
    options: [],
    refresh: 1,
    regex: '',
  };
}

function toGrafanaVariable({ name, label, metric, values, only }: Variable): object {
  const definition = `label_values(${metric}, ${values})`;
  return {
    name,
    label,
    type: 'query',
    datasource,
    definition,
    query: { query: definition, refId: 'StandardVariableQuery' },
    current: only === undefined ? { text: 'All', value: '$__all' } : { text: only, value: only },
    ...(only === undefined ? { allValue: '.*' } : {}),
    includeAll: only === undefined,
    multi: only === undefined,
    hide: 0,
    options: [],
    refresh: 2,
    regex: '',
    sort: 1,
  };
}
