-- Health of a FineTuneJob for Argo CD. Same order as kstatus, so that both say the same; the one
-- difference is a job cancelled on request, which is Suspended here and not Degraded for ever.
-- Argo CD runs this without `string` and `math`; every field may be absent.
local status = obj.status
if status == nil then
  return {status = "Progressing", message = "Waiting for the operator"}
end
if status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "The spec changed; waiting for the operator"}
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function is_true(kind)
  return conditions[kind] ~= nil and conditions[kind].status == "True"
end

local message = status.message or status.phase or "Waiting for the operator"

if is_true("Reconciling") then
  return {status = "Progressing", message = message}
end
if is_true("Cancelled") then
  return {status = "Suspended", message = message}
end
if is_true("Stalled") then
  return {status = "Degraded", message = message}
end
if is_true("Suspended") then
  return {status = "Suspended", message = message}
end
if is_true("Ready") then
  return {status = "Healthy", message = message}
end
return {status = "Progressing", message = message}
