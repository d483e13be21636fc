{{- define "finetune-operator.operatorImage" -}}
{{- .Values.images.operator | default (printf "finetune-operator:%s" .Chart.AppVersion) -}}
{{- end -}}

{{- define "finetune-operator.trainerImage" -}}
{{- .Values.images.trainer | default (printf "finetune-trainer:%s" .Chart.AppVersion) -}}
{{- end -}}

{{/* One variable for each setting; an empty value leaves the operator's own default. */}}
{{- define "finetune-operator.env" -}}
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
{{- range include "finetune-operator.authorities" . | fromYamlArray }}
- name: FINETUNE_{{ upper .of }}_CA_FILE
  value: /etc/finetune-operator/{{ .of }}/ca.crt
{{- end }}
{{- range $name, $value := .Values.settings }}
- name: FINETUNE_{{ $name | snakecase | upper }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end -}}
