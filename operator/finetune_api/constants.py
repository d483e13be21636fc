"""Names that everything else agrees on: group, version, labels, annotations, paths inside pods.

Knows strings only.
"""

GROUP = "finetune.dev"
VERSION = "v1alpha1"
KIND = "FineTuneJob"
PLURAL = "finetunejobs"
SINGULAR = "finetunejob"
SHORT_NAME = "ftj"
CATEGORY = "finetune"
API_VERSION = f"{GROUP}/{VERSION}"

FINALIZER = f"{GROUP}/remote-job"
"""Held only while a job may exist at a hosted service."""

RETRY_ANNOTATION = f"{GROUP}/retry-requested-at"
DETACH_ANNOTATION = f"{GROUP}/detach"
ADOPT_ANNOTATION = f"{GROUP}/adopt"
FORCE_NEW_ANNOTATION = f"{GROUP}/force-new"

LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "finetune-operator"
LABEL_JOB_NAME = f"{GROUP}/job-name"
LABEL_JOB_UID = f"{GROUP}/job-uid"
LABEL_COMPONENT = "app.kubernetes.io/component"
COMPONENT_PREPARE = "prepare"
COMPONENT_TRAINER = "trainer"
LABEL_LEADER = f"{GROUP}/leader"
LABEL_KUEUE_QUEUE = "kueue.x-k8s.io/queue-name"

SEQUENCE_LENGTH = 1024
"""Tokens of a row that are trained on, if neither the spec says else nor the model reads fewer."""

PROGRESS_AUDIENCE = "finetune-progress"
AZURE_TOKEN_AUDIENCE = "api://AzureADTokenExchange"

CONFIG_DIR = "/etc/finetune"
"""Where a pod finds config.json and ca.crt (ConfigMap of the attempt)."""
CONFIG_FILE = f"{CONFIG_DIR}/config.json"
PROGRESS_CA_FILE = f"{CONFIG_DIR}/progress-ca.crt"
AZURE_CA_FILE = f"{CONFIG_DIR}/azure-ca.crt"
FETCH_CA_FILE = f"{CONFIG_DIR}/fetch-ca.crt"
"""For https:// and hf://; there only if the chart has authorities of its own for them."""
TOKEN_DIR = "/var/run/secrets/finetune.dev"
PROGRESS_TOKEN_FILE = f"{TOKEN_DIR}/progress-token"
AZURE_TOKEN_FILE = f"{TOKEN_DIR}/azure-token"
API_KEY_FILE = f"{TOKEN_DIR}/api-key/key"
DATA_DIR = "/mnt/data"
MODEL_DIR = "/mnt/model"
OUTPUT_DIR = "/mnt/output"
SCRATCH_DIR = "/tmp"
TERMINATION_LOG = "/dev/termination-log"
TERMINATION_LIMIT_BYTES = 4096
"""What the kubelet keeps of one container's last words."""
