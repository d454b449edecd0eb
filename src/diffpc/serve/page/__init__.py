"""The studio's web page: photos, sliders and the live 3D face on one side, portraits on the other."""
