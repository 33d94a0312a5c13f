import type { Route, RouteBackend, RouteMatch, RouteRule } from '@kmesh/api';
import type { Field, YamlReader } from './yaml-reader.ts';
import { readTexts } from './yaml-reader.ts';

const MAXIMUM_PORT = 65_535;
/** As in a `VirtualService`. */
const MAXIMUM_WEIGHT = 2 ** 31 - 1;

/** Reads one entry of `routes` (docs/routes.md): the applicable part of a route, in the spelling of the config dump. */
export function readRoute(reader: YamlReader, field: Field): Route {
  const fields = reader.object(
    field,
    ['name', 'namespace', 'hosts'],
    ['exportTo', 'isGatewayApi', 'createdAt', 'tcp', 'http'],
  );
  return {
    namespace: reader.text(fields.namespace),
    name: reader.text(fields.name),
    hosts: readTexts(reader, fields.hosts),
    exportTo: readTexts(reader, fields.exportTo),
    isGatewayApi: reader.flag(fields.isGatewayApi),
    createdAt: reader.number(fields.createdAt, Number.MAX_SAFE_INTEGER),
    tcp: readRules(reader, fields.tcp),
    http: readRules(reader, fields.http),
    unsupported: undefined,
  };
}

function readRules(reader: YamlReader, field: Field | undefined): RouteRule[] | undefined {
  if (reader.isAbsent(field)) return undefined;
  return reader.list(field).map((item) => {
    const fields = reader.object(item, ['backends'], ['matches']);
    return {
      matches: reader.list(fields.matches).map((match) => readMatch(reader, match)),
      backends: reader.list(fields.backends).map((backend) => readBackend(reader, backend)),
    };
  });
}

function readMatch(reader: YamlReader, field: Field): RouteMatch {
  const fields = reader.object(field, [], ['port', 'sourceNamespace']);
  return {
    ...(reader.isAbsent(fields.port) ? {} : { port: reader.number(fields.port, MAXIMUM_PORT) }),
    ...(reader.isAbsent(fields.sourceNamespace)
      ? {}
      : { sourceNamespace: reader.text(fields.sourceNamespace) }),
  };
}

function readBackend(reader: YamlReader, field: Field): RouteBackend {
  const fields = reader.object(field, ['hostname'], ['port', 'weight']);
  return {
    hostname: reader.text(fields.hostname),
    port: reader.isAbsent(fields.port) ? undefined : reader.number(fields.port, MAXIMUM_PORT),
    weight: reader.number(fields.weight, MAXIMUM_WEIGHT, 1),
  };
}
