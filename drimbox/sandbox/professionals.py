"""The professionals one may be in the sandbox. All are invented: names, identifiers and structures."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Activity:
    """A place of work. structure: `ancienIdentifiantDeLaStructure`; sector: code of TRE_R02 (SA01 hospital...)."""

    structure: str
    name: str
    sector: str
    mode: str


@dataclass(frozen=True, slots=True)
class SandboxProfessional:
    """national_id: the RPPS with its type `8` in front, as Pro Santé Connect gives it in SubjectNameID."""

    national_id: str
    family: str
    given: str
    civility: str
    profession: str
    specialty: str
    shown: str
    activities: tuple[Activity, ...]


PROFESSIONALS = (
    SandboxProfessional(
        "899700000011",
        "VALMONT",
        "CLAIRE",
        "DR",
        "10",
        "SM44",
        "médecin radiologue, une seule activité",
        (Activity("10B0900001", "CENTRE D'IMAGERIE DES TILLEULS", "SA08", "L"),),
    ),
    SandboxProfessional(
        "899700000029",
        "KERVADEC",
        "YANN",
        "DR",
        "10",
        "SM26",
        "médecin généraliste, deux activités",
        (
            Activity("499700000029007", "CABINET DU DR KERVADEC", "SA07", "L"),
            Activity("10B0900002", "HOPITAL DE LA PRESQU'ILE", "SA01", "S"),
        ),
    ),
    SandboxProfessional(
        "899700000037",
        "OUVRARD",
        "MINA",
        "MME",
        "98",
        "",
        "manipulatrice en électroradiologie",
        (Activity("10B0900002", "HOPITAL DE LA PRESQU'ILE", "SA01", "S"),),
    ),
)


def build_user_info(professional: SandboxProfessional, subject: str) -> dict[str, Any]:
    """What `/userinfo` says of a professional: the fields of drim-m.md C.1, with the ones that go with them."""
    first = professional.activities[0]
    practice = {
        "codeProfession": professional.profession,
        "codeCategorieProfessionnelle": "C",
        "codeCiviliteDexercice": professional.civility,
        "nomDexercice": professional.family,
        "prenomDexercice": professional.given,
        "codeTypeSavoirFaire": "S" if professional.specialty else "",
        "codeSavoirFaire": professional.specialty,
        "activities": [
            {
                "codeModeExercice": activity.mode,
                "codeSecteurDactivite": activity.sector,
                "raisonSocialeSite": activity.name,
                "ancienIdentifiantDeLaStructure": activity.structure,
            }
            for activity in professional.activities
        ],
    }
    return {
        "sub": subject,
        "preferred_username": professional.national_id,
        "family_name": professional.family,
        "given_name": professional.given,
        "SubjectNameID": professional.national_id,
        "SubjectRole": [f"{professional.profession}^1.2.250.1.213.1.1.5.5"],
        "SubjectOrganization": first.name,
        "SubjectOrganizationID": first.structure,
        "Secteur_Activite": f"{first.sector}^1.2.250.1.71.4.2.4",
        "PSI_Locale": "1.2.250.1.213.1.3.1.1",
        "Mode_Acces_Raison": "",
        "otherIds": [{"identifiant": professional.national_id, "origine": "RPPS", "qualite": 1}],
        "SubjectRefPro": {"codeCivilite": professional.civility, "exercices": [practice]},
    }
