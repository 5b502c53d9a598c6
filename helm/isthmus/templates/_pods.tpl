{{/* What is the same of every pod. */}}
{{- define "isthmus.podRules" -}}
serviceAccountName: {{ include "isthmus.serviceAccount" . }}
automountServiceAccountToken: false
{{- /* The variables that Kubernetes makes of a Service named isthmus would be taken for settings. */}}
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.pods.securityContext | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with .Values.pods.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.pods.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.pods.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.pods.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The metadata of a pod. dict: root, component, entity (of a bridge) */}}
{{- define "isthmus.podMetadata" -}}
labels:
  {{- include "isthmus.labels" .root | nindent 2 }}
  {{- include "isthmus.entityLabels" . | nindent 2 }}
  {{- with .root.Values.pods.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if or .entity .root.Values.pods.annotations }}
annotations:
  {{- if .entity }}
  {{- /* The bridge reads its peers once. */}}
  checksum/peers: {{ include "isthmus.peers" .root | sha256sum }}
  {{- end }}
  {{- with .root.Values.pods.annotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Volumes of pods with a service container. */}}
{{- define "isthmus.serviceVolumes" -}}
{{- if .Values.storage.s3.ca.configMap }}
- name: s3-ca
  configMap: {name: {{ .Values.storage.s3.ca.configMap | quote }}}
{{- end }}
{{- if .Values.index.ca.configMap }}
- name: database-ca
  configMap: {name: {{ .Values.index.ca.configMap | quote }}}
{{- end }}
{{- end -}}

{{/* Volumes of all pods: the files of HTTPS and of sign-in. */}}
{{- define "isthmus.accessVolumes" -}}
{{- if .Values.service.tls.secret }}
- name: tls
  secret: {secretName: {{ .Values.service.tls.secret | quote }}}
{{- end }}
{{- if not (hasPrefix "none" .Values.auth.mode) }}
{{- with .Values.auth.passwordsSecret.name }}
- name: passwords
  secret: {secretName: {{ . | quote }}}
{{- end }}
{{- with .Values.auth.shareKeySecret.name }}
- name: share-key
  secret: {secretName: {{ . | quote }}}
{{- end }}
{{- with .Values.auth.oidc.ca.configMap }}
- name: oidc-ca
  configMap: {name: {{ . | quote }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* Volumes of pods with a bridge. */}}
{{- define "isthmus.bridgeVolumes" -}}
- name: peers
  configMap: {name: {{ include "isthmus.fullname" . }}-peers}
{{- if .Values.bridge.archive.tokenSecret.name }}
- name: archive-token
  secret: {secretName: {{ .Values.bridge.archive.tokenSecret.name | quote }}}
{{- end }}
{{- if .Values.bridge.archive.ca.configMap }}
- name: archive-ca
  configMap: {name: {{ .Values.bridge.archive.ca.configMap | quote }}}
{{- end }}
{{- if .Values.bridge.tls.secret }}
- name: dimse-tls
  secret: {secretName: {{ .Values.bridge.tls.secret | quote }}}
{{- end }}
{{- if .Values.bridge.tls.ca.configMap }}
- name: dimse-ca
  configMap: {name: {{ .Values.bridge.tls.ca.configMap | quote }}}
{{- end }}
{{- end -}}
