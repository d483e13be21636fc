{{- define "finetune-operator.operatorImage" -}}
{{- .Values.images.operator | default (printf "finetune-operator:%s" .Chart.AppVersion) -}}
{{- end -}}

{{- define "finetune-operator.trainerImage" -}}
{{- .Values.images.trainer | default (printf "finetune-trainer:%s" .Chart.AppVersion) -}}
{{- end -}}

{{/* What the leader does must fit into its lease: with other settings the operator ends at once. */}}
{{- define "finetune-operator.requireLeaseThatHolds" -}}
{{- $defaults := dict "leaseDurationSeconds" 10 "leaseRenewDeadlineSeconds" 7 "leaseRetrySeconds" 2 "azureCreateTimeoutSeconds" 5 }}
{{- with merge (dict) .Values.settings $defaults }}
{{- $lease := float64 .leaseDurationSeconds }}
{{- $deadline := float64 .leaseRenewDeadlineSeconds }}
{{- $retry := float64 .leaseRetrySeconds }}
{{- $create := float64 .azureCreateTimeoutSeconds }}
{{- if ge $deadline $lease }}
{{- fail (printf "settings.leaseRenewDeadlineSeconds (%v) must be shorter than settings.leaseDurationSeconds (%v): a leader must end before another one begins" $deadline $lease) }}
{{- end }}
{{- if gt (mulf 2 $retry) $deadline }}
{{- fail (printf "settings.leaseRetrySeconds (%v) must be at most half of settings.leaseRenewDeadlineSeconds (%v): a leader must be able to renew in time" $retry $deadline) }}
{{- end }}
{{- if ge (addf $create $retry) $lease }}
{{- fail (printf "settings.azureCreateTimeoutSeconds (%v) and settings.leaseRetrySeconds (%v) together must be shorter than settings.leaseDurationSeconds (%v): a hosted job is created only while the lease outlasts the request" $create $retry $lease) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* One variable for each setting; an empty value leaves the operator's own default. */}}
{{- define "finetune-operator.env" -}}
{{- include "finetune-operator.requireLeaseThatHolds" . }}
- name: FINETUNE_POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: FINETUNE_POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: FINETUNE_POD_SERVICE_ACCOUNT
  valueFrom:
    fieldRef:
      fieldPath: spec.serviceAccountName
- name: FINETUNE_LEASE_NAME
  value: {{ include "finetune-operator.fullname" . }}
- name: FINETUNE_HEALTH_PORT
  value: "8080"
- name: FINETUNE_PROGRESS_PORT
  value: "8443"
- name: FINETUNE_PROGRESS_SERVICE
  value: {{ include "finetune-operator.fullname" . }}-progress.{{ .Release.Namespace }}.svc
- name: FINETUNE_PROGRESS_SERVICE_PORT
  value: "443"
- name: FINETUNE_PROGRESS_SECRET
  value: {{ include "finetune-operator.progressCASecret" . }}
- name: FINETUNE_PREPARE_IMAGE
  value: {{ include "finetune-operator.operatorImage" . }}
- name: FINETUNE_TRAINER_IMAGE
  value: {{ include "finetune-operator.trainerImage" . }}
- name: FINETUNE_IMAGE_PULL_POLICY
  value: {{ .Values.images.pullPolicy }}
{{- $texts := dict
    "NAMESPACES" (join "," .Values.watchNamespaces)
    "AZURE_ALLOWED_ENDPOINTS" (join "," .Values.azure.allowedEndpoints)
    "AZURE_AUTHORITY_HOST" .Values.azure.authorityHost
    "AZURE_TOKEN_SCOPE" .Values.azure.tokenScope
    "FETCH_ALLOWED_RANGES" (join "," .Values.fetch.allowedRanges)
    "FETCH_DENIED_RANGES" (join "," .Values.fetch.deniedRanges)
    "HF_ENDPOINT" .Values.hf.endpoint
    "IMAGE_PULL_SECRETS" (join "," .Values.images.jobPullSecrets)
    "OUTPUT_STORAGE" .Values.output.storage
    "OUTPUT_STORAGE_CLASS" .Values.output.storageClass }}
{{- range $name, $text := $texts }}
{{- with $text }}
- name: FINETUNE_{{ $name }}
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- $objects := dict
    "NODE_SELECTOR" .Values.prepare.nodeSelector
    "TOLERATIONS" .Values.prepare.tolerations
    "ENV" .Values.prepare.env }}
{{- range $name, $object := $objects }}
{{- with $object }}
- name: FINETUNE_PREPARE_{{ $name }}
  {{- /* The kubelet reads "$$" as "$", and would replace "$(NAME)". */}}
  value: {{ toJson . | replace "$" "$$" | quote }}
{{- end }}
{{- end }}
{{- range include "finetune-operator.authorities" . | fromYamlArray }}
- name: FINETUNE_{{ upper .of }}_CA_FILE
  value: /etc/finetune-operator/{{ .of }}/ca.crt
{{- end }}
{{- range $name, $value := .Values.settings }}
- name: FINETUNE_{{ $name | snakecase | upper }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end -}}
