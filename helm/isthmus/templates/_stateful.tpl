{{/*
One pod that keeps its name and its volume: the embedded one, or that of an application entity.
dict: root, entity (none without a bridge), name, component, volume
*/}}
{{- define "isthmus.statefulPod" -}}
{{- $values := .root.Values -}}
{{- $embedded := eq .component "embedded" -}}
{{- $beside := or $embedded (eq (include "isthmus.ownService" .root) "true") -}}
{{- $exposed := ternary "true" "false" (and $embedded (not $values.auth.proxy.enabled)) -}}
{{- $proxied := and $embedded $values.auth.proxy.enabled -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ .name }}
  labels:
    {{- include "isthmus.labels" .root | nindent 4 }}
    {{- include "isthmus.entityLabels" . | nindent 4 }}
spec:
  {{- /* Never more: a second pod would be a second bridge of the same title. */}}
  replicas: 1
  {{- /* A pod that does not become ready must not keep its repaired successor from being made. */}}
  podManagementPolicy: Parallel
  serviceName: {{ .name }}
  selector:
    matchLabels:
      {{- include "isthmus.selector" .root | nindent 6 }}
      {{- include "isthmus.entityLabels" . | nindent 6 }}
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Retain}
  template:
    metadata:
      {{- include "isthmus.podMetadata" . | nindent 6 }}
    spec:
      {{- include "isthmus.podRules" .root | nindent 6 }}
      terminationGracePeriodSeconds: {{ add (ternary (int $values.bridge.drainSeconds) 0 (not (empty .entity))) (ternary (add (int $values.service.endpointsSeconds) (int $values.service.drainSeconds)) 0 $beside) 15 }}
      containers:
        {{- if $beside }}
        {{- include "isthmus.serviceContainer" (dict "root" .root "exposed" $exposed "outlives" (ternary "true" "false" (not (empty .entity))) "state" "true") | nindent 8 }}
        {{- end }}
        {{- if .entity }}
        {{- include "isthmus.bridgeContainer" . | nindent 8 }}
        {{- end }}
        {{- if $proxied }}
        {{- include "isthmus.proxyContainer" .root | nindent 8 }}
        {{- end }}
      volumes:
        - name: temporary
          emptyDir: {sizeLimit: {{ $values.service.temporarySize }}}
        {{- if .volume.existingClaim }}
        - name: data
          persistentVolumeClaim: {claimName: {{ .volume.existingClaim | quote }}}
        {{- end }}
        {{- $more := printf "%s\n%s\n%s" (include "isthmus.accessVolumes" .root | trim) (ternary (include "isthmus.serviceVolumes" .root) "" $beside) (ternary (include "isthmus.bridgeVolumes" .root) "" (not (empty .entity))) }}
        {{- with trim $more }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  {{- if not .volume.existingClaim }}
  volumeClaimTemplates:
    - metadata:
        name: data
      spec:
        accessModes: [{{ .volume.accessMode }}]
        {{- with .volume.storageClass }}
        storageClassName: {{ . | quote }}
        {{- end }}
        resources:
          requests: {storage: {{ .volume.size }}}
  {{- end }}
{{- end -}}

{{/* What tells the pod from others. dict: entity, component */}}
{{- define "isthmus.entityLabels" -}}
app.kubernetes.io/component: {{ .component }}
{{- if eq .component "bridge" }}
isthmus/application-entity: {{ include "isthmus.slug" .entity.title }}
{{- end }}
{{- end -}}
