{{/* The name of everything that the release owns. */}}
{{- define "finetune-operator.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "finetune-operator.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "finetune-operator.fullname" .) -}}
{{- end -}}

{{/* What a Deployment and its Services select by: never changes. */}}
{{- define "finetune-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "finetune-operator.labels" -}}
{{ include "finetune-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* For objects without a namespace: another release may have the same name in another namespace. */}}
{{- define "finetune-operator.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "finetune-operator.fullname" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "finetune-operator.progressCASecret" -}}
{{ include "finetune-operator.fullname" . }}-progress-ca
{{- end -}}

{{/* The values that name certificate authorities: whom they are for, and where they stand. */}}
{{- define "finetune-operator.authorities" -}}
{{- range $of, $value := dict "azure" .Values.azure "fetch" .Values.fetch }}
{{- if $value.caBundle }}
- {of: {{ $of }}, configMap: {{ include "finetune-operator.fullname" $ }}-{{ $of }}-ca, key: ca.crt}
{{- else if $value.caConfigMap.name }}
- {of: {{ $of }}, configMap: {{ $value.caConfigMap.name }}, key: {{ $value.caConfigMap.key }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* The subject of every binding. */}}
{{- define "finetune-operator.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "finetune-operator.serviceAccountName" . }}
    namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* FineTuneJobs themselves: one rule per resource, subresources apart. */}}
{{- define "finetune-operator.jobRules" -}}
- apiGroups: [finetune.dev]
  resources: [finetunejobs]
  # patch: the finalizer; spec, labels and annotations are never written
  verbs: [get, list, watch, patch]
- apiGroups: [finetune.dev]
  resources: [finetunejobs/status]
  verbs: [patch]
{{- end -}}

{{/* What is done for them in the namespaces that are served. */}}
{{- define "finetune-operator.workRules" -}}
- apiGroups: [finetune.dev]
  resources: [finetunejobs/finalizers]
  # asked for by ownerReferences that block the owner's deletion
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, patch]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, create, patch]
- apiGroups: [""]
  resources: [serviceaccounts]
  # the account of training pods, which has no rights at all
  verbs: [create]
- apiGroups: [""]
  resources: [events]
  # list: why a pod waits
  verbs: [list, create]
{{- end -}}
