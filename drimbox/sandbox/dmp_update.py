"""How the sandbox DMP changes what it holds: ITI-57, availability and metadata (IHE ITI TF-2 §3.57; TD3.3a to c)."""

from dataclasses import replace
from typing import Any

from lxml import etree

from drimbox.sandbox.dmp_assertion import Vihf
from drimbox.sandbox.dmp_rules import RuleBrokenError, check_confidentiality, check_set, one, require, slot_values
from drimbox.sandbox.dmp_schemas import read_schema
from drimbox.sandbox.dmp_store import APPROVED, ARCHIVED, DELETED, Holding, Store

_UPDATES_AVAILABILITY = "urn:ihe:iti:2010:AssociationType:UpdateAvailabilityStatus"
_HAS_MEMBER = "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"
_UNIQUE = "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab"
_CONFIDENTIALITY = "urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f"
_CHANGES = {(APPROVED, DELETED), (APPROVED, ARCHIVED), (ARCHIVED, APPROVED)}


def apply_update(body: Any, vihf: Vihf, store: Store) -> None:
    """Make the one change that an ITI-57 body asks for. vihf: in whose name, about which patient.

    Raises RuleBrokenError.
    """
    schema = read_schema("xds/lcm.xsd")
    require(schema.validate(etree.fromstring(etree.tostring(body))), f"schema: {schema.error_log}")
    objects = one(body, "r:RegistryObjectList")
    package = one(objects, "r:RegistryPackage")
    set_uid = check_set(package, vihf)
    association = one(objects, "r:Association")
    require(association.get("sourceObject") == package.get("id"), "the change starts from the set")
    if association.get("associationType") == _UPDATES_AVAILABILITY:
        _change_availability(association, vihf.patient_id, store)
    elif association.get("associationType") == _HAS_MEMBER:
        _change_metadata(one(objects, "r:ExtrinsicObject"), association, vihf.patient_id, store)
    else:
        raise RuleBrokenError("XDSMetadataUpdateOperationError", "association type")
    if not store.add_set(set_uid):
        raise RuleBrokenError("XDSDuplicateUniqueIdInRegistry", set_uid)


def _change_availability(association: Any, patient_id: str, store: Store) -> None:
    held = _held(store.by_entry(association.get("targetObject")), patient_id)
    old, new = slot_values(association, "OriginalStatus"), slot_values(association, "NewStatus")
    if old != [held.status] or (old[0], new[0]) not in _CHANGES:
        raise RuleBrokenError("XDSMetadataUpdateError", "the status is another one, or does not change so")
    store.set_status(held.entry_uuid, new[0])


def _change_metadata(entry: Any, association: Any, patient_id: str, store: Store) -> None:
    unique_id = one(entry, f"r:ExternalIdentifier[@identificationScheme='{_UNIQUE}']").get("value")
    held = _held(store.by_unique_id(unique_id), patient_id)
    require(association.get("targetObject") == entry.get("id") != held.entry_uuid, "the new version has an id")
    require(entry.get("lid") == held.logical_id, "lid", "XDSMetadataIdentifierError")
    if slot_values(association, "PreviousVersion") != [str(held.version)] or not held.is_approved:
        raise RuleBrokenError("XDSMetadataVersionError", "not the current version")
    check_confidentiality(entry)
    for node in entry.iter("{*}Classification", "{*}ExternalIdentifier"):
        owner = node.get("classifiedObject") or node.get("registryObject")
        require(owner == entry.get("id"), "owner of a classification or an identifier")
    if _fixed(entry) != _fixed(etree.fromstring(held.metadata)):
        raise RuleBrokenError("UnmodifiableMetadataError", "something else than the confidentiality changes")
    changed = replace(held, entry_uuid=entry.get("id"), metadata=etree.tostring(entry, encoding="unicode"))
    store.new_version(held.entry_uuid, changed)


def _held(holding: Holding | None, patient_id: str) -> Holding:
    if holding is None:
        raise RuleBrokenError("UnresolvedReferenceException", "the entry is not known")
    if holding.patient_id != patient_id:
        raise RuleBrokenError("XDSPatientIDReconciliationError", "the entry is of another patient")
    return holding


def _fixed(entry: Any) -> list[bytes]:
    """What a change of confidentiality leaves as it was, whoever owns it."""
    told: Any = etree.fromstring(etree.tostring(entry))
    fixed = []
    for child in told:
        if child.get("classificationScheme") == _CONFIDENTIALITY or child.get("name") == "repositoryUniqueId":
            continue
        for name in ("classifiedObject", "registryObject", "id"):
            child.attrib.pop(name, None)
        fixed.append(etree.tostring(child, method="c14n", exclusive=True))
    return sorted(fixed)
