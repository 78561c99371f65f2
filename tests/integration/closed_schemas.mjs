// closed_schemas.mjs - what Kubernetes, KEDA and the Prometheus operator would say of objects.
//
// Reads a JSON list of objects on stdin; prints a JSON list of complaints. The compiled validators
// of @kubernetes-models check types and required members but let unknown members pass, where a real
// API server with strict field validation would not. So each object is wrapped, and a member that
// its validator never asked for is one that the type does not have.
import { readFileSync } from 'node:fs';

const schema = (dir, name) => new URL(`../node_modules/${dir}/_schemas/${name}.js`, import.meta.url);
const core = (name) => schema('kubernetes-models', `IoK8sApi${name}`);
const keda = (name) =>
  schema('@kubernetes-models/keda', `ComGithubKedacoreKedaV2ApisKedaV1alpha1${name}`);
const monitoring = (name) => schema('@kubernetes-models/prometheus-operator',
  `ComGithubPrometheusOperatorPrometheusOperatorPkgApisMonitoringV1${name}`);
const modules = {
  'v1 Namespace': core('CoreV1Namespace'),
  'v1 Pod': core('CoreV1Pod'),
  'v1 ConfigMap': core('CoreV1ConfigMap'),
  'v1 ServiceAccount': core('CoreV1ServiceAccount'),
  'apps/v1 Deployment': core('AppsV1Deployment'),
  'policy/v1 PodDisruptionBudget': core('PolicyV1PodDisruptionBudget'),
  'networking.k8s.io/v1 NetworkPolicy': core('NetworkingV1NetworkPolicy'),
  'keda.sh/v1alpha1 ScaledObject': keda('ScaledObject'),
  'keda.sh/v1alpha1 TriggerAuthentication': keda('TriggerAuthentication'),
  'monitoring.coreos.com/v1 PodMonitor': monitoring('PodMonitor'),
};

function watched(value, asked) {
  return new Proxy(value, {
    get(target, name) {
      const found = target[name];
      if (typeof name !== 'string' || !Object.hasOwn(target, name)) return found;
      const seen = asked.get(name) ?? new Map();
      asked.set(name, seen);
      return found !== null && typeof found === 'object' ? watched(found, seen) : found;
    },
  });
}

function* neverAsked(value, asked, path) {
  for (const [name, member] of Object.entries(value)) {
    if (!asked.has(name)) yield `${path}/${name}: no such member`;
    else if (member !== null && typeof member === 'object')
      yield* neverAsked(member, asked.get(name), `${path}/${name}`);
  }
}

const complaints = [];
for (const object of JSON.parse(readFileSync(0, 'utf8'))) {
  const kind = `${object.apiVersion} ${object.kind}`;
  if (!modules[kind]) {
    complaints.push(`${kind}: not a type that is known here`);
    continue;
  }
  const { validate } = await import(modules[kind]);
  const asked = new Map();
  if (!validate(watched(object, asked)))
    for (const e of validate.errors) complaints.push(`${kind}${e.instancePath}: ${e.keyword} ${JSON.stringify(e.params)}`);
  // A validator may stop at what is wrong; what it did not come to is not unknown.
  else for (const text of neverAsked(object, asked, kind)) complaints.push(text);
}
console.log(JSON.stringify(complaints));
