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
      expr: expression,
      legendFormat: legend,
      range: !stat,
      instant: stat,
    })),
  };
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

function toGrafanaVariable({ name, label, metric, values }: Variable): object {
  const definition = `label_values(${metric}, ${values})`;
  return {
    name,
    label,
    type: 'query',
    datasource,
    definition,
    query: { query: definition, refId: 'StandardVariableQuery' },
    current: { text: 'All', value: '$__all' },
    allValue: '.*',
    includeAll: true,
    multi: true,
    hide: 0,
    options: [],
    refresh: 2,
    regex: '',
    sort: 1,
  };
}
