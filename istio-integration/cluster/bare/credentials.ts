import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { apiServer, network } from './addresses.ts';
import { run } from './machine.ts';

/** Credentials of the programs of a cluster, created for each cluster. */
export interface Credentials {
  /** Authority of the API server's certificate, PEM. */
  readonly authority: string;
  /** Files of the API server by name. */
  readonly files: Readonly<
    Record<'ca.crt' | 'apiserver.crt' | 'apiserver.key' | 'accounts.key' | 'tokens.csv', string>
  >;
  /** Kubeconfig of a user: `admin`, or one that {@link makeCredentials} was given. */
  readonly kubeconfig: (user: string) => string;
}

/** A user of the API server, beside the administrator. */
export interface ClusterUser {
  readonly name: string;
  readonly groups: readonly string[];
}

/**
 * Creates an authority, the API server's certificate, the key of service accounts' tokens, and a token for each user.
 */
export function makeCredentials(directory: string, users: readonly ClusterUser[]): Credentials {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const at = (file: string): string => join(directory, file);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  run('openssl', [
    ...['req', '-x509', ...key, '-keyout', at('ca.key'), '-out', at('ca.crt')],
    ...['-days', '30', '-subj', '/CN=kmesh-cluster'],
  ]);
  run('openssl', [
    ...['req', ...key, '-keyout', at('apiserver.key'), '-out', at('apiserver.csr')],
    ...['-subj', '/CN=kube-apiserver'],
  ]);
  const names = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc'];
  const alternatives = [
    ...[...names, `kubernetes.default.svc.${network.domain}`, 'localhost'].map((name) => `DNS:${name}`),
    ...[network.control, network.apiService, '127.0.0.1'].map((address) => `IP:${address}`),
  ];
  writeFileSync(at('apiserver.ext'), `subjectAltName=${alternatives.join(',')}\n`);
  run('openssl', [
    ...['x509', '-req', '-in', at('apiserver.csr'), '-CA', at('ca.crt'), '-CAkey', at('ca.key')],
    ...['-CAcreateserial', '-days', '30', '-extfile', at('apiserver.ext'), '-out', at('apiserver.crt')],
  ]);
  run('openssl', [
    'genpkey',
    '-algorithm',
    'RSA',
    '-pkeyopt',
    'rsa_keygen_bits:2048',
    '-out',
    at('accounts.key'),
  ]);
  const all: readonly ClusterUser[] = [{ name: 'admin', groups: ['system:masters'] }, ...users];
  const tokens = new Map(all.map(({ name }) => [name, randomBytes(24).toString('hex')]));
  const text = (file: string): string => readFileSync(at(file), 'utf8');
  const authority = text('ca.crt');
  return {
    authority,
    files: {
      'ca.crt': authority,
      'apiserver.crt': text('apiserver.crt'),
      'apiserver.key': text('apiserver.key'),
      'accounts.key': text('accounts.key'),
      'tokens.csv': all
        .map(({ name, groups }) => `${tokens.get(name)},${name},${name},"${groups.join(',')}"\n`)
        .join(''),
    },
    kubeconfig: (user) => kubeconfigText(authority, user, tokens.get(user) ?? ''),
  };
}

/** A kubeconfig in JSON, which is YAML too. */
function kubeconfigText(authority: string, user: string, token: string): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'kmesh',
    clusters: [
      {
        name: 'kmesh',
        cluster: {
          server: apiServer,
          'certificate-authority-data': Buffer.from(authority).toString('base64'),
        },
      },
    ],
    users: [{ name: user, user: { token } }],
    contexts: [{ name: 'kmesh', context: { cluster: 'kmesh', user } }],
  });
}
